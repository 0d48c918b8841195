"""One function per stage; the world comes in as ports."""
