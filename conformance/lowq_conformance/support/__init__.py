"""What knows no queue: text, processes, sockets, trace points, scratch folders."""
