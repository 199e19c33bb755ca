"""Assay's own HTTP interface: one application, to which each part adds its routes."""
