"""From a generator to synthetic images that say where they come from: as answers and as files."""
