"""What docs/performance.md says of the network itself: what made it faster, and what did not."""

TRIED = """
## What was tried in the network

Float files are written from a graph of layers that computes the same as the trained network in
fewer operations (`src/mobileyolact/export/faster.py`). Time of `n-416` on one thread as a share of
the time before, and how near the outputs are:

| change | ONNX Runtime, AVX-512 | ONNX Runtime, AVX2 | ncnn | outputs |
|---|---|---|---|---|
| **no shuffles**, and 58 channels as 60 | 0.93 | 0.93 | 0.95 | 119 dB |
| **constant channels left out** | 1.03 | 1.04 | 1.00 | 115 dB |
| **both**: what is written | 0.91 | 0.92 | 0.92 | 115 dB |

Shuffles vanish because convolutions write their channels in the order in which they are needed. Of
the 2,088 channels within the backbone's units 91 are constant; leaving them out pays only where
what remains is filled up with zeros to multiples of four, which engines want. Both together take
`n-320` to 0.91 in ONNX Runtime and 0.95 in ncnn, `s-320` to 0.98 and 0.95, and `n-416` in PyTorch
to 0.97.

Int8 files of `n-416` in ONNX Runtime: **no shuffles**, with the same codes, 0.96; **integers from
the first pool on**, one convolution earlier than before, 0.95; both 0.90. Since then the second is
done after training with rounding alone (`--qat`): without, it cost most of what is lost
([adr/0011](adr/0011-one-grid-of-codes-for-three-engines.md)). Of both, **last convolutions as
products of bytes** instead of float convolutions 0.92. Then, on AVX2 alone, one after the other:

| change to int8 files | ONNX Runtime, AVX2 |
|---|---|
| **channels in multiples of 8** instead of 4 | 0.95 |
| **LeakyReLU of many bytes as a sum** | 0.96 |
| **outputs shaped before they are joined**, else copied to shape them | 0.99 |
| **constant channels left out**, with the same codes | 0.98 |
| **nothing cut off where bytes end by themselves** | 0.99 |
| **prototypes as bytes**, which are turned sooner than floats | 0.99 |
| all of it | 0.87 |
| **pruned**: 3x3 for 5x5 in seven depthwise kernels | 0.93 |
| and fewer channels in the mask branch, `coco-int8` | 0.88 |

Depthwise convolutions of bytes take the channels beyond a multiple of 8 one by one. A LeakyReLU
looks each byte up; from 16,384 on it is written as a tenth of all bytes and nine tenths of those
above 0, since clipping and adding take 16 at a time. Codes that reach as far below 0 as above go
down to -128, and enlarging takes means, so nothing is out of range. The last two rows are of other
weights, measured at 320, and ratios to the file with all of the above
([adr/0014](adr/0014-pruned-is-what-is-zero.md)). Before them, of what is left, 23 ms there,
integer convolutions are 67 %, LeakyReLU 12 %, the last convolutions 4 %, the first one 5 %, joining
and cutting channels 4 %. In ncnn multiples of 8 and no constants make no difference (1.01);
in PyTorch codes down to -128 and prototypes as bytes give 0.96.

With **ReLU instead of LeakyReLU** (`n-416+relu`) int8 takes 0.91 to 0.93 of the unpruned, at 320
0.87 to 0.92. Trained from `coco`'s weights for 80 minutes on two cores it has a mask AP of 0.193
and is not done ([checkpoints](../research/checkpoints/README.md)).

TorchScript files of `s-*` and `paper-*`: **kernels that grow by zeros** where the backbone is
padded on one side only, as TensorFlow does, instead of padded tensors: 0.71 and 0.76 of `paper-320`
in two runs on AVX2. In PyTorch's own modules, batches of 1 and 4, the same changed nothing, so
training pads.

Where the time goes in ONNX Runtime by its own profile, before and after (AVX-512, 28.1 and 26.1
ms): pointwise convolutions 65 and 69 %, at 50 multiply-accumulates a nanosecond, which is near what
the processor can do; depthwise ones 16 and 13 %; the first convolution 5 %; moving, joining and
cutting channels 11 and 10 %; resizing, pooling and sums 4 %. LeakyReLU is computed within the
convolutions and is 5 % of the whole, as ReLU in its place shows.

Tried and left, since it does not pay, or in one place costs what it saves in another; the ratio is
to the network as it is written:

| change | ONNX Runtime, AVX-512 | ONNX Runtime, AVX2 | ncnn |
|---|---|---|---|
| channels filled up to multiples of 8 instead of 4 | 1.00 | 0.99 | 1.02 |
| parts filled up to multiples of 16, a convolution for each instead of a cut | 1.02 | 1.05 | 1.03 |
| first convolution with 32 channels instead of 24 | 0.98 | 1.02 | 1.04 |
| head: locations first in each level, then joined | 1.00 | 1.00 | 1.00 |
| neck: 1x1 convolution before the upsampling instead of after it | 1.01 | 1.00 | 1.00 |
| neck: depthwise convolutions before the joins instead of after them | 1.01 | 1.00 | |
| ncnn without matrix kernels for 1x1 convolutions | | | 1.00 |
| first convolution with 32 channels, int8 | 0.97 | | |
| int8 without blocks of channels (`NchwcTransformer`) for what stays float | 0.99 | | |

All this on an AMD EPYC of family 25, model 17, with ONNX Runtime 1.32 and ncnn 1.0.20261020, while
other work kept the cores busy: files were loaded anew four to eight times (PyTorch's once) and took
turns, and ratios are medians of the thread's CPU time, good to 0.02 in ONNX Runtime and 0.03 in
ncnn. AVX2 is the same processor with ONNX Runtime kept from its AVX-512 kernels.

## What was tried behind the network

Ratios are of post-processing, masks made, on one thread of an AMD EPYC with AVX2 alone, all in
turn. Taken, one after the other
([0013](adr/0013-masks-by-their-edges-without-compiled-code.md)); on 200 pictures 28 of 1,200
million pixels of masks changed:

| change | 10 instances, 1280 x 720 | 100, 1920 x 1080 | 300, 4000 x 3000 |
|---|---|---|---|
| **edges** instead of a value for each pixel | 0.96 | 0.79 | |
| **rows and columns spread over cells**, instead of small matrix products | 0.97 | 0.95 | |
| **numpy's methods** instead of its functions around them | 0.91 | 0.95 | |
| **edges along rows, written as runs**, instead of a byte for each column | 0.92 | 0.81 | |
| **a cell's prototypes side by side** before they are combined | 1.05 | 0.94 | |
| **thresholds by the few cells that can still change** | 1.01 | 0.98 | |
| **the best 300 candidates first**, and boxes decoded in fewer steps | 0.95 | 0.93 | |
| all of it | 0.80 | 0.50 | 0.35 |

Left, since it does not pay:

| change | 10 instances, 1280 x 720 | 100, 1920 x 1080 | 300, 4000 x 3000 |
|---|---|---|---|
| bits that flip where columns cross the threshold, for a matrix product | 1.12 | 1.02 | 0.88 |
| islands of all masks in one search | | 1.00 | |
| prototypes as they lie, cut to the boxes before they are combined | | 1.00 | |
| combinations of 24 masks in one product | 1.03 | 0.96 | |

Suppression takes a twentieth to a tenth of it. Ratios there: rounds of a matrix product instead of
a loop 0.9 to 1.2; overlaps of pairs of one class alone 0.7 with 80 classes, but up to 4.7 with
one; blocks of 32 boxes first, then larger ones, 0.8 to 1.2; overlaps on arrays of all pairs instead
of on rows against columns 1.0 to 11.
"""
