"""Where samples come from: folders, tars, MindRecord files, the original files of CIFAR and MNIST."""
