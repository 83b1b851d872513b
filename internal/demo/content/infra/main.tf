terraform {
  required_providers {
    local  = { source = "hashicorp/local" }
    random = { source = "hashicorp/random" }
    time   = { source = "hashicorp/time" }
    tls    = { source = "hashicorp/tls" }
  }
}

# What a cloud would give a name to.
resource "random_pet" "shop" {
  length = var.words
}

resource "time_static" "opened" {}

resource "tls_private_key" "shop" {
  algorithm = "ED25519"
}

# What somebody may change or delete by hand.
resource "local_file" "welcome" {
  filename        = "${var.directory}/welcome.txt"
  content         = "Welcome to ${random_pet.shop.id}, open since ${time_static.opened.year}.\n"
  file_permission = "0644"
}
