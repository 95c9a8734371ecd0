"""Pure network modules: they know nothing of files, seeds or devices."""
