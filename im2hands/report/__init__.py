"""Pictures, plots and the interactive 3-D page."""
