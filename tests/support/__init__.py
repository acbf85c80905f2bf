"""What tests share: knowledge of the machine, builders of trees, archives and stores."""
