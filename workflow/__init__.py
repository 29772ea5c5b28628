"""Snakemake rules and the two programs that keep DVC in step with them."""
