"""The arguments of the constructors that are flags of train, for its parser: importing them imports no PyTorch."""
