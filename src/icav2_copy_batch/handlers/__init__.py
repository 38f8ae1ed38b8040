"""What Lambda calls: parse the event, call the use case, answer."""
