"""Echoes on a unix socket: the Python end of the two-hop ping. It asks nothing of msgpack; that is what makes it a limit."""
import socket
import sys

server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("ready", flush=True)
connection, _ = server.accept()
while data := connection.recv(65536):
    connection.sendall(data)
