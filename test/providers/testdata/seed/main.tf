locals {
  region = "eu-west-1"
  tags = {
    Environment = var.environment
    ManagedBy   = "plumb"
  }
}

data "cloud_zones" "available" {}

data "cloud_image" "base" {
  name = "ubuntu-26"
}

resource "random_pet" "suffix" {
  length = 2
}

module "network" {
  source = "./modules/network"

  name       = var.environment
  cidr_block = var.cidr_block
  zones      = data.cloud_zones.available.names
  tags       = local.tags
}

module "service" {
  source   = "./modules/service"
  for_each = var.services

  name          = each.key
  vpc_id        = module.network.vpc_id
  subnet_ids    = values(module.network.public_subnet_ids)
  ami           = data.cloud_image.base.id
  instance_type = var.instance_type
  ports         = each.value.ports
  instances     = each.value.instances
  tags          = local.tags
}

resource "cloud_bucket" "assets" {
  name       = "assets-${random_pet.suffix.id}"
  versioning = true
  labels     = local.tags

  lifecycle_rule {
    id              = "expire-old"
    expiration_days = 90

    transition {
      days          = 30
      storage_class = "cold"
    }
  }

  lifecycle {
    ignore_changes = [labels["Owner"]]
  }
}

resource "cloud_bucket" "adopted" {
  for_each = var.adopted_buckets
  name     = each.key
}

import {
  for_each = var.adopted_buckets
  to       = cloud_bucket.adopted[each.key]
  id       = each.value
}

resource "random_password" "database" {
  length = 24
}

resource "cloud_secret" "database" {
  name  = "${var.environment}-database"
  value = random_password.database.result
}

resource "cloud_record" "service" {
  for_each = var.services

  name   = each.key
  values = module.service[each.key].private_ips
}

# The network and the web service were once written down here.
moved {
  from = cloud_vpc.main
  to   = module.network.cloud_vpc.main
}

moved {
  from = cloud_security_group.web
  to   = module.service["web"].cloud_security_group.this
}
