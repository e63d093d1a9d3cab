"""What clients may ask of the endpoint, one file a noun."""
