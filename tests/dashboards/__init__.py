"""The pages, on a running demo plant that lives as long as this package is tested."""
