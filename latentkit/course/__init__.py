"""How a lab is run (`runtime`), built from its master (`build`) and handed to nbgrader (`nbgrader`)."""
