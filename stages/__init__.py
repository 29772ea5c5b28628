"""One thin module per rule of the DAG: read inputs and parameters, call the library, write outputs whole or not at all."""
