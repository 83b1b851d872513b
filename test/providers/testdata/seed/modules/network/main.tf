variable "name" {
  type = string
}

variable "cidr_block" {
  type = string
}

variable "zones" {
  type = list(string)
}

variable "tags" {
  type = map(string)
}

resource "cloud_vpc" "main" {
  cidr_block           = var.cidr_block
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags                 = merge(var.tags, { Name = "${var.name}-vpc" })
}

resource "cloud_subnet" "public" {
  for_each = { for index, zone in var.zones : zone => index }

  vpc_id                  = cloud_vpc.main.id
  cidr_block              = cidrsubnet(var.cidr_block, 8, each.value)
  availability_zone       = each.key
  map_public_ip_on_launch = true
  tags                    = merge(var.tags, { Name = "${var.name}-public-${each.key}" })
}

resource "cloud_subnet" "private" {
  count = length(var.zones)

  vpc_id            = cloud_vpc.main.id
  cidr_block        = cidrsubnet(var.cidr_block, 8, 100 + count.index)
  availability_zone = var.zones[count.index]
  tags              = merge(var.tags, { Name = "${var.name}-private-${count.index}" })
}

output "vpc_id" {
  value = cloud_vpc.main.id
}

output "public_subnet_ids" {
  value = { for zone, subnet in cloud_subnet.public : zone => subnet.id }
}
