"""Timings on a CUDA device against torch (cuBLAS, cuDNN), torch.compile and Triton.

python -m benchmarks.gpu                   everything, on the first device
python -m benchmarks.gpu matmul softmax    these rows
python -m benchmarks.gpu --emulated        no device: answers alone, small sizes, in the emulator
"""
