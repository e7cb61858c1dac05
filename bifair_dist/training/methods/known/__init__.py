"""The methods that come with the package."""
