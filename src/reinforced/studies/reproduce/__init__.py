"""Studies of papers: what is measured is data (``papers/*.yaml``), and each figure comes from a record."""
