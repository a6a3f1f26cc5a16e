"""The package's version: read by the build, and named in the scope of what we record."""

__version__ = "0.1.0"
