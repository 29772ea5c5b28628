"""One module per golden case."""
