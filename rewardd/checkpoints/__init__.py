"""Commands on checkpoints: convert other projects' layouts, inspect what one holds."""
