"Ways to name a place on a machine; each has the word secret in it."
PLACES = [
    "/home/ada/secret/birds",
    "secret/ada/birds",
    "./secret/birds",
    "../secret/birds",
    "~/secret/birds",
    "~ada/secret/birds",
    r"C:\Users\secret\birds",
    r"\\secret\ada\birds",
    "file:///home/secret/birds",
    "secret/birds/",
    "C:/secret/birds",
    r".\secret\birds",
    "secret/birds.csv",
    "secret/*.jpg",
    "secret pictures/birds",
]
