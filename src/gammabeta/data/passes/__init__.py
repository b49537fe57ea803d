"""What runs over the chunks of a source of any format: measure, transform, group by, preview."""
