"""What several formats show, as rows and words. Pure."""
