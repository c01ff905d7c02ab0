.PHONY: docs
docs:  # build/docs/index.html; requires pip install -e ".[docs]"
	python -m sphinx -W --keep-going -q -b html docs build/docs
	python docs/check_links.py build/docs
