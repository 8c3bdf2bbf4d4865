"""Carries a trial out: data, recipe, and the runners that schedule it."""
