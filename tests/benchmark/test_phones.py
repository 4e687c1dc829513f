from mobileyolact.benchmark.phones import DEVICES, Table, published, sources


def test_published_times() -> None:
    tables = published()
    assert tables[Table("Snapdragon 8 Gen 2", 4)]["mobilenet_v2"] == 3.13
    assert tables[Table("Snapdragon 865", 4)]["nanodet_m"] == 8.71
    assert all(ms > 0 for times in tables.values() for ms in times.values())
    assert {table.threads for table in tables} == {1, 4}
    assert {soc for socs in sources().values() for soc in socs} == {t.soc for t in tables}
    assert all(len(source) > 20 for source in sources())


def test_devices_have_tables_of_their_threads() -> None:
    for device in DEVICES:
        for table in device.tables:
            assert table in published()
            assert table.threads == device.threads
    asked = {("Galaxy S20 (Snapdragon 865)", n) for n in (1, 4)}
    asked |= {("Snapdragon 8 Gen 2", n) for n in (1, 4)}
    assert asked <= {(device.name, device.threads) for device in DEVICES}
