"""What any data set needs: data modules, the in-memory loader, verified downloads."""
