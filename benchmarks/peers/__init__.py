"""Other people's chip simulators, each run as a program of its own in an environment of its own.

Nothing of them is imported here: SANA-FE is GPL-3, NengoLoihi needs an old NumPy. A problem file
goes in, a result file comes out, see :mod:`peers.exchange`.
"""
