"""Search spaces that ship with the package."""
