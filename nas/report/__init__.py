"""What people look at: tables for terminals and files, and pictures of the front."""
