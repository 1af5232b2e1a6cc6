"""Tables, figures and the page: records are read, models never."""
