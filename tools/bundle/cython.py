"""Stands in selfconn.pyz for Cython's module of this name: the engine that is not compiled uses two names of it."""

from contextlib import nullcontext

compiled = False
nogil = nullcontext()
