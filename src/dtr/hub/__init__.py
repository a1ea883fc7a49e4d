"""What others publish: fetched with its hashes, imported from official key names, and exported back to them."""
