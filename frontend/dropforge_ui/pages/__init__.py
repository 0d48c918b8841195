"""The pages of the web app: controls and markup of each."""
