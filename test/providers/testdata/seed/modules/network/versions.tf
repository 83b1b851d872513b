terraform {
  required_providers {
    cloud = {
      source = "plumb-dev/cloud"
    }
  }
}
