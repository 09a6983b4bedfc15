"""What a user asks for, one file each. Imports every room below; nothing but the command line imports jobs."""
