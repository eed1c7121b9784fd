"""From a CSV file to predictions: normalization, class weights, the best weights, save and load."""

from lightmodels import MLP, TableDataModule, Trainer, load

data = TableDataModule("cancer.csv", target="diagnosis", class_weights="balanced")
model = MLP(**data.sizes)
trainer = Trainer(restore_best_weights=True)
trainer.fit(model, data)
print(trainer.test(model, data))
model.save("cancer.ckpt")
print(load("cancer.ckpt").predict(["cancer.csv"]).names)
