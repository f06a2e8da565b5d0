"""Where clips come from: video files in and out, data sets, the embedded data set, caches."""
