"""What answers the requests that are served from the cache."""
