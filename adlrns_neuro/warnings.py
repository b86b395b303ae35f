"""Categories of the warnings that this package gives."""


class BudgetWarning(UserWarning):
    """A layer cannot keep its energy budget even at its lowest level."""
