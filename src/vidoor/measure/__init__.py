"""What ``vidoor bench`` measures: ratios, what survives a codec, what is seen. One file each."""
