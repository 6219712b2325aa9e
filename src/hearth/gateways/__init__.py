"""Ways to a function that are not AWS's API: function URLs."""
