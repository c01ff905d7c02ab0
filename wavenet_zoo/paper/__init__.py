"""What the paper claims: its tables, ablations and connectivity, compared with measurements."""
