# What a machine of fumehood's has (crates/machine/src/arguments.rs), and nothing else.
CONFIG_MICROVM=y
CONFIG_PCIE_PORT=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_BLK=y
CONFIG_VIRTIO_NET=y
CONFIG_VIRTIO_SERIAL=y
