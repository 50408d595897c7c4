"""Stands in selfconn.pyz for Cython's module of this name, for the engine that runs as it is: two names are used of it."""

from contextlib import nullcontext

compiled = False
nogil = nullcontext()
