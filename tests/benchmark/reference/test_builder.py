from mobileyolact.benchmark.reference.builder import Builder


def test_lines_and_weights() -> None:
    b = Builder(8)
    x = b.conv(b.image, 4, 3, 2)
    y = b.depthwise(x, 3, activation=None)
    b.add(x, y)
    text, weights = b.render()
    assert text.split("\n") == [
        "7767517",
        "5 6",
        "Input image 0 1 image 0=8 1=8 2=3",
        "Convolution t1 1 1 image t1 0=4 1=3 3=2 4=1 5=1 6=108 9=1",
        "Split t1_split 1 2 t1 t1_0 t1_1",
        "ConvolutionDepthWise t2 1 1 t1_1 t2 0=4 1=3 3=1 4=1 5=1 6=36 7=4",
        "BinaryOp t3 2 1 t1_0 t2 t3 0=0",
        "",
    ]
    assert len(weights) == (4 + 2 * 108 + 4 * 4) + (4 + 2 * 36 + 4 * 4)
    assert b.macs == 108 * 4 * 4 + 36 * 4 * 4


def test_sides_and_channels() -> None:
    b = Builder(10)
    assert b.max_pool(b.image).side == 5, "the last window sticks out"
    assert b.max_pool(b.image, pad=1).side == 5
    assert b.max_pool(b.image, 2).side == 5
    first, others = b.split(b.conv(b.image, 12, 5, pad=0), 4)
    assert (first.channels, others.channels, others.side) == (4, 8, 6)
    assert b.concat(first, others).channels == 12
    assert b.resize(first, 0.5).side == 3
    assert b.dense(others, 7).side == 1
    assert b.macs == 3 * 25 * 12 * 36 + 8 * 36 * 7
