terraform {
  required_version = ">= 1.7"

  required_providers {
    cloud = {
      source  = "plumb-dev/cloud"
      version = "~> 2.0"
    }
    random = {
      source  = "hashicorp/random"
      version = "~> 3.5"
    }
  }
}

provider "cloud" {
  endpoint = var.endpoint
  token    = var.token
  region   = local.region
}
