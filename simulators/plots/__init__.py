"""Pictures of a run; matplotlib loads only when one is drawn."""
