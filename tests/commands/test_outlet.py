"""What a server writes to a reader that may be gone."""

import os

from greenroom.commands.outlet import Outlet


def test_what_is_written_arrives_and_the_descriptor_stays_open():
    reading, writing = os.pipe()
    outlet = Outlet(writing)
    outlet.write("Grüße\n")
    outlet.flush()
    outlet.close()
    os.write(writing, b"after\n")
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == "Grüße\nafter\n".encode()


def test_without_a_reader_it_is_lost_and_nothing_fails():
    reading, writing = os.pipe()
    os.close(reading)
    outlet = Outlet(writing)
    for _ in range(1000):
        assert outlet.write("x" * 100 + "\n") == 101
        outlet.flush()
    os.close(writing)
