namespace weir { int placeholder() { return 0; } }
